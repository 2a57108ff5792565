var queue_endpoint = new Endpoint(BASE_URL + "/queue");

// What the test looks at.
var calls = {alive: 0, dead: 0};

queue_endpoint.onAlive = function(){
    calls.alive++;
    regainConnection();
};
queue_endpoint.onDead = function(){
    calls.dead++;
    lostConnection();
};

var PARAMETERS = _.objectMap({echo: 0, slides: 0}, function(){ return ["init", "state", "title", "colour"]; });

function showError(error){
    $("#error").text(error ? error.message : "no sentence");
}

var Item = Backbone.Model.extend({
    idAttribute: "uid",
    parse: function(item){
        return _.extend({uid: item.uid, type: item.type}, item.parameters);
    },
    sync: function(method, model, options){
        if(method == "delete"){
            queue_endpoint.deferQuery({cmd: "rm", args: {uids: [model.id]}}, options.success, options.error);
        }
    },
    tell: function(cmd, args, cb){
        queue_endpoint.forceQuery({cmd: "tell_module", args: {uid: this.id, cmd: cmd, args: args}}, cb, showError);
    },
    ask: function(parameters, cb){
        queue_endpoint.deferQuery({cmd: "ask_module", args: {uid: this.id, parameters: parameters}}, cb, showError);
    }
});

var Queue = Backbone.Collection.extend({
    model: Item,
    sync: function(method, collection, options){
        queue_endpoint.deferQuery({cmd: "queue", args: {parameters: PARAMETERS}}, options.success, options.error);
    }
});

var ItemView = Backbone.View.extend({
    tagName: "li",
    events: {"click .rm": "rm", "click .paint": "paint", "click .ask": "ask", "click .fail": "fail"},
    initialize: function(){
        this.listenTo(this.model, "change", this.render);
    },
    render: function(){
        var init = this.model.get("init") || {};
        var text = [_.capitalize(init.title || this.model.get("type")), this.model.get("state"), this.model.get("colour") || ""];
        this.$el.empty().append($("<span class='text'>").text(text.join(" | ")));
        _.each(["paint", "ask", "fail", "rm"], function(name){
            this.$el.append($("<button>").addClass(name).text(name));
        }, this);
        return this;
    },
    rm: function(){ this.model.destroy({wait: true}); },
    paint: function(){ this.model.tell("set", {parameters: {colour: "blue"}}, refresh); },
    ask: function(){
        var $el = this.$el;
        this.model.ask(["state"], function(answer){ $el.find(".ask").text("it is " + answer.state); });
    },
    fail: function(){ this.model.tell("fail", {msg: "Not in this weather."}); }
});

var queue = new Queue();
function refresh(){ queue.fetch(); }

$(document).ready(function(){
    var views = {};
    queue.on("add", function(item){
        views[item.id] = new ItemView({model: item});
        $("#queue").append(views[item.id].render().el);
    });
    queue.on("remove", function(item){
        views[item.id].remove();
        delete views[item.id];
    });

    queue_endpoint.deferQuery({cmd: "modules_available"}, function(types){
        _.each(types, function(type){ $("#type").append($("<option>").text(type)); });
    });
    queue_endpoint.runQueries(refresh);

    $("#add").submit(function(event){
        event.preventDefault();
        var command = {cmd: "add", args: {type: $("#type").val(), args: {title: $("#name").val()}}};
        queue_endpoint.deferQuery(command, undefined, showError);
        queue_endpoint.deferQuery({cmd: "queue", args: {parameters: PARAMETERS}}, function(items){
            queue.set(items, {parse: true});
        });
    });

    // The endpoints of the settings are there a little later.
    var volume = setInterval(function(){
        if(!endpoints.volume) return;
        clearInterval(volume);
        endpoints.volume.deferQuery({cmd: "get_volume"}, function(answer){
            $("#volume").text(_.lpad(String(answer.volume), 3, "0") + " at " + settings_data.name);
        });
    }, 20);

    setInterval(refresh, 250);
});
